"""Speech for many texts: jobs that can be cut off, and a cache of what was said before. And where somebody speaks."""
