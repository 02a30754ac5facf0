"""From a spec to a folder of results, watched, stopped and resumed."""
