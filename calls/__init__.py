"""A call's way from request to decision or verdict, without any wire format."""
