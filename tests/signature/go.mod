module hafiz/tests/signature

go 1.26
