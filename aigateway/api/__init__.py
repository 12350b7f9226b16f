"""What REST endpoints of all apps share: parsing, authentication, errors, pages, the OpenAPI document. Frameworks load it by path."""
