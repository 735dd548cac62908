"""A conformance kit for the Open Inference Protocol V2: point it at any server that says it speaks it.

    python -m fullcircle.testing.v2 http://127.0.0.1:8710 --model NAME

Each case is one promise of the protocol, of one of its extensions, or of what its clients rely on; it passes, fails,
or is not supported, and says why. A request for one row is made from the model's metadata, or given. Nothing is
installed for it, and nothing of this package's own server is used.
"""
