"""What a record passes before it is in the spool, where a setting asks for it: processors, rules, masks, sampling."""
