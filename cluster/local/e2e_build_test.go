package local
var builtInto string
