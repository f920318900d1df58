"""Where a batch goes: the HTTP source, the failover bucket, and the address of the source."""
