"""One request over the network: HTTP/1.1, connections, proxies, AWS signatures."""
