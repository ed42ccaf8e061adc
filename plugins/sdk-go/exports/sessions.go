// Package export_portolan_channel_sessions is what the router calls, in terms of what the adapter's package offers. `portolan plugin build` puts it here.
package export_portolan_channel_sessions

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/adapter"
	"wit_component/portolan"
	sessions "wit_component/portolan_channel_sessions"
	types "wit_component/portolan_channel_types"
)

// Start opens a session.
func Start(context types.Context, name string, answers []types.Answer) wit.Result[sessions.Step, types.Fault] {
	return portolan.Drive(context, answers, sessions.MakeStepSend, sessions.MakeStepDone, func(ctx *portolan.Ctx) (sessions.Opened, error) {
		return adapter.Start(ctx, name)
	})
}
