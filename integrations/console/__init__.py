"""The console: the pages people look at. Files and the headers they are sent with; what they show comes from the API."""
