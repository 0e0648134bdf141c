"""Hosts, one file each: they translate, they do not compute. The core knows none of them."""
