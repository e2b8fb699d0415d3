module hafiz/tests/overload

go 1.26

require hafiz/tests/signature v0.0.0

replace hafiz/tests/signature => ../signature
