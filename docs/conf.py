"""How the site is built: `make docs`. Nothing is fetched, nothing of the site calls out."""

from worker import __version__

project = "Pathlane"
version = release = __version__
root_doc = "index"
extensions = ["myst_parser"]
exclude_patterns: list[str] = []
suppress_warnings: list[str] = []
nitpicky = True

# Headings are link targets, as on the forges where these pages are read too.
myst_heading_anchors = 4

html_theme = "furo"
html_title = f"Pathlane {release}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#5b2a86", "color-brand-content": "#5b2a86"},
    "dark_css_variables": {"color-brand-primary": "#c9a6e8", "color-brand-content": "#c9a6e8"},
}
