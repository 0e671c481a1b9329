"""What happened: a log that shows tampering, is on disk before a request goes upstream, and can be read and proven."""
