"""An S3 server that keeps what it is sent, on loopback: versitygw from Go modules, over a folder of this machine."""
