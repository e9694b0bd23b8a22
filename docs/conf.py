"""Sphinx makes a site of these pages: `make docs`."""

project = "sdft_exp"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "sdft_exp"
myst_heading_anchors = 3  # so that links to headings are checked
