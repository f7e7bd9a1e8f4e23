"""The console: the pages people look at, as files. What they show comes from the API."""
