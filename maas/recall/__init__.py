"""Pure functions over hits: analysis, fusion, filters."""
