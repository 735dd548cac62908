"""The server as a program."""

import sys

from fullcircle.server.main import main, stop_quietly

if __name__ == "__main__":
    stop_quietly()
    sys.exit(main())
