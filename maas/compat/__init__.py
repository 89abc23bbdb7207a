"""maas behind the interfaces of other libraries, each in its own folder and its own extra."""
