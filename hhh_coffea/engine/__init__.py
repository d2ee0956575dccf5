"""Files → chunks → executor → merged output. It knows processors, not physics."""
