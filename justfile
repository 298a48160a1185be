# What one does here, by name. Recipes use the project's environment: `uv run just`, or activate .venv first.

uv := env("UV", "uv")

# All that must be green before a change is done.
default: format-check lint types imports test

# Install everything: the engine, the tools, the dashboard.
setup:
    {{ uv }} sync --all-extras

# What the CI runs: the commands of the README, the checks, another Python.
check:
    .ci/run

# Rewrite the code in the house format.
fmt:
    ruff format
    ruff check --fix

format-check:
    ruff format --check

lint:
    ruff check

types:
    mypy --strict engine recorder apps

imports:
    lint-imports

# The tests, or some of them: `just test tests/test_book.py -k crossed`.
test *args:
    pytest -n auto {{ args }}

# Accept what strategies and reports do now; read the diff before you commit it.
snap *args:
    pytest --snapshot-update {{ args }}

# The property tests with 20,000 histories each, and 200 sessions killed.
torture *args:
    WSPT_KILLS=200 pytest -n auto --hypothesis-profile=torture {{ args }}

# How fast: one file a question, medians and ratios.
bench *args:
    for question in benchmarks/[a-z]*.py; do python "$question" {{ args }} || exit 1; done

# The tape that comes with the project. Synthetic and seeded, so the same file every time.
sample:
    wspt simulate --seed 7 --minutes 10 -o data/sample.parquet

# The shipped strategies over a tape.
replay tape="data/sample.parquet" *args:
    wspt replay {{ tape }} {{ args }}

# Runs in a browser.
dash *args:
    wspt dashboard {{ args }}

# Every page of the dashboard as a picture, at 1400x900 and 800x1200: `just screenshots RUN FOLDER`.
screenshots *args:
    python docs/screenshots.py {{ args }}
