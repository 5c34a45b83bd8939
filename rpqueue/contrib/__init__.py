"""Bridges to other libraries, a module each. Each needs the extra of its name: ``pip install 'rpqueue[sentry]'``."""
