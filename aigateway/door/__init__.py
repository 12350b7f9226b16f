"""What a request meets before the pipeline: protocol, receipt, handler, views."""
