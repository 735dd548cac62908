"""The server: answers prediction requests over HTTP for the models that ``served.json`` names."""
