"""The GE2E speaker encoder of Resemblyzer and Chatterbox: front ends, network, and embeddings of recordings."""
