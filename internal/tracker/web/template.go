package web

import "html/template"

var page = template.Must(template.New("x").Parse("x"))
