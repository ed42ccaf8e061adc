// Package export_portolan_channel_adapter is what the router calls, in terms of what the adapter's package offers. `portolan plugin build` puts it here.
package export_portolan_channel_adapter

import (
	"wit_component/adapter"
	describe "wit_component/portolan_channel_adapter"
)

// Describe says who the adapter is.
func Describe() describe.Manifest { return adapter.Describe() }
