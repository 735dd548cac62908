"""Public conformance suites: subclass one to test an extension of your own."""
