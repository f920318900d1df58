"""Lambda's Extensions API and Telemetry API, as its environment offers them on the loopback interface."""
