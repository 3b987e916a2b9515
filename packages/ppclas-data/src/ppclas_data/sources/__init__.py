"""Where records come from: folders, lists, tables, archives; splits and class names."""
