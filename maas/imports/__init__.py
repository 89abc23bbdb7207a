"""Files that people have from other services, read into what maas stores."""
