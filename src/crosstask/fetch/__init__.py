"""Public data sets from the web to a folder: where they are, downloads that resume, checks, archives."""
