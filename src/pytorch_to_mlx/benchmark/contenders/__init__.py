"""Scripts that are run by path, each in its contender's environment. Of these the package imports `serving` alone."""
