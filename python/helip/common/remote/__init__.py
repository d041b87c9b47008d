"""Files at URLs: requests, ranges, and containers that lie in object storage."""
