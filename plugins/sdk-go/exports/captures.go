// Package export_portolan_channel_captures is what the router calls, in terms of what the adapter's package offers. `portolan plugin build` puts it here.
package export_portolan_channel_captures

import (
	wit "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/adapter"
	"wit_component/portolan"
	types "wit_component/portolan_channel_types"
)

// Capture takes what was authorized.
func Capture(context types.Context, of types.Target, amount types.Money, isFinal bool, answers []types.Answer) wit.Result[types.FollowUpStep, types.Fault] {
	return portolan.Drive(context, answers, types.MakeFollowUpStepSend, types.MakeFollowUpStepDone, func(ctx *portolan.Ctx) (types.FollowUpOutcome, error) {
		return adapter.Capture(ctx, of, amount, isFinal)
	})
}

// Cancel lets it go.
func Cancel(context types.Context, of types.Target, answers []types.Answer) wit.Result[types.FollowUpStep, types.Fault] {
	return portolan.Drive(context, answers, types.MakeFollowUpStepSend, types.MakeFollowUpStepDone, func(ctx *portolan.Ctx) (types.FollowUpOutcome, error) {
		return adapter.Cancel(ctx, of)
	})
}

// Status asks what became of either.
func Status(context types.Context, of types.Target, answers []types.Answer) wit.Result[types.FollowUpStep, types.Fault] {
	return portolan.Drive(context, answers, types.MakeFollowUpStepSend, types.MakeFollowUpStepDone, func(ctx *portolan.Ctx) (types.FollowUpOutcome, error) {
		return adapter.CaptureStatus(ctx, of)
	})
}
