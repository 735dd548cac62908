"""The targets that come with fullcircle."""
