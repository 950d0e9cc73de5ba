"""Slow studies: each is run as python -m studies.NAME. The product never imports them."""
