"""T3: text tokens to speech tokens, in the speaker's voice."""
