"""Every figure and page: of maps, and of refinements."""
