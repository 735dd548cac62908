"""The detectors that come with fullcircle. They register like anybody else's."""
