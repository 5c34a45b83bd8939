"""The version, in the one place that the build, `rpqueue.VERSION` and the command line read."""

VERSION = "1.0.0.dev0"
