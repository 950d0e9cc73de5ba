"""The methods on points in the plane, against exact teachers."""
