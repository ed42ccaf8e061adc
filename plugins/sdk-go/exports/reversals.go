// Package export_portolan_channel_reversals is what the router calls, in terms of what the adapter's package offers. `portolan plugin build` puts it here.
package export_portolan_channel_reversals

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/adapter"
	"wit_component/portolan"
	types "wit_component/portolan_channel_types"
)

// Reverse undoes a payment whose outcome nobody knew.
func Reverse(context types.Context, of types.Target, answers []types.Answer) wit.Result[types.FollowUpStep, types.Fault] {
	return portolan.Drive(context, answers, types.MakeFollowUpStepSend, types.MakeFollowUpStepDone, func(ctx *portolan.Ctx) (types.FollowUpOutcome, error) {
		return adapter.Reverse(ctx, of)
	})
}

// Status asks what became of it.
func Status(context types.Context, of types.Target, answers []types.Answer) wit.Result[types.FollowUpStep, types.Fault] {
	return portolan.Drive(context, answers, types.MakeFollowUpStepSend, types.MakeFollowUpStepDone, func(ctx *portolan.Ctx) (types.FollowUpOutcome, error) {
		return adapter.ReverseStatus(ctx, of)
	})
}
