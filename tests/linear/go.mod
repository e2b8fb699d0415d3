module hafiz/tests/linear

go 1.26

require (
	github.com/anishathalye/porcupine v1.3.1
	hafiz/tests/signature v0.0.0
)

replace hafiz/tests/signature => ../signature
