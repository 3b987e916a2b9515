"""The Open Inference Protocol over gRPC.

``messages`` declares what goes over the wire; ``service`` passes each call to the HTTP application
of the same process, so that limits, token, numbers and proof are the same for both.
"""
