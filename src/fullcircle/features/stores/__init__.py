"""The online stores that come with fullcircle, each found by the scheme of its URL."""
