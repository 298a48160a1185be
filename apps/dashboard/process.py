"""The dashboard's process: Streamlit's own command, while the first run is being read already."""

from streamlit.web.cli import main

from apps.dashboard.ahead import read_ahead

if __name__ == "__main__":
    read_ahead()
    main(prog_name="streamlit")
