"""The demonstration: the whole way on real pictures that install from a package registry."""
