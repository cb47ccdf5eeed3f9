"""How clients reach the server: standard input and output, Streamable HTTP."""
