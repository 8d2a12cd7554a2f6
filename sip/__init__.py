"""The SIP front end: a redirect service, and what an INVITE over HTTP is answered."""
